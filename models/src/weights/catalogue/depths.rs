//! Networks that see distances in a picture.
