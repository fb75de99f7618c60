"""Reading and writing json: in pieces, with one sentence for whatever is wrong."""
