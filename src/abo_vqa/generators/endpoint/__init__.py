"""Source `endpoint` of the stage generate: an OpenAI-compatible server writes the questions."""
