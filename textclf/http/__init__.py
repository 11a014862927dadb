"""The front door: every request to the service passes through here."""
