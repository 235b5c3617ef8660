"""Stage generate: from products to raw outputs with questions; one module per source."""
