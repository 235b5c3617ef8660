"""Products in, raw outputs that hold questions out; one module per source of questions."""
