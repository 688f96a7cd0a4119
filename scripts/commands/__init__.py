"""Commands that people, cron and systemd call."""
