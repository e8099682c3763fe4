"""What requests cost before they reach an engine, in processes of their own: parsing, templates, tokenizing."""
