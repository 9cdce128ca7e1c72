"""What the gateway decides: validation, texts, shapes and sizes of answers, who may ask. Pure."""
