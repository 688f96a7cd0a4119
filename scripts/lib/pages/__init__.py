"""What people look at: pages of a night and of all nights, and the history they are made from."""
