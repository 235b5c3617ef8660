"""How the demo catalogue, drawn by this project, is made."""
