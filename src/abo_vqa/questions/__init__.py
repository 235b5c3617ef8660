"""Raw outputs in, clean four-option questions out: parsing, repairs, expectations."""
