//! Looks at the world, and watches it.
