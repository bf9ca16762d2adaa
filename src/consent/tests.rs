mod door;
mod keys;
mod lists;
mod signatures;
