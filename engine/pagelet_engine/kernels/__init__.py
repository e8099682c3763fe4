"""The ops that layers are made of: one op, several implementations under one name, private to the layers."""
