"""Stage validate: from raw outputs to clean four-option questions by parsing, repairs and expectations."""
