"""Exactness of sound on the sphere: each part measures its rows beside a bar and a trivial baseline."""
