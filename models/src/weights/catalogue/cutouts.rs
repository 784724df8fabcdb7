//! Networks that tell objects from their backgrounds.
