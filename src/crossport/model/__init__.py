"""The product's nouns as frozen data: no input or output, no clock, no behaviour beyond questions."""
