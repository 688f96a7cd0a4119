"""What people get to see: pages, summaries and mails."""
