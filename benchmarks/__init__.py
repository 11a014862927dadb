"""This project and its peers, measured side by side on one machine."""
