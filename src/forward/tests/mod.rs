mod hostile;
mod restart;
mod walk;
mod world;
