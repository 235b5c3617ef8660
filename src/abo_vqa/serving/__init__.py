"""Registered versions, the champion, and the model behind HTTP."""
