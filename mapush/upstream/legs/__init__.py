"""The low level of MAPush, trained here for its own robot, because its checkouts may lack the file."""
