"""Tables of current state, and their reads. Streams and commands write them; the gateway and operations read them."""
