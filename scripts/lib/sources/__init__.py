"""Where nights are read from: a local or mounted folder, an SMB share, an SFTP server.

`opening` makes a `source.Source` of an address. What the kinds differ in is their connection: a
class in `local`, `mounted`, `smb` and `sftp`. `listing` judges what they find in a night's folder.
"""
