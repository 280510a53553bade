//! Builds every part from the configuration, connects them, and ends them in order.
