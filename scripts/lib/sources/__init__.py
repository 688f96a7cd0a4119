"""Where nights are read from: a local or mounted folder, an SMB share, an SFTP server."""
