mod ping;
