mod handshake;
mod message;
