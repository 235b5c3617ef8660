"""The vision-language model: inputs, features, adapters."""
