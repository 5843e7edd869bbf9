//! What runs after a change has been mirrored: one confined process for each configured
//! plugin (command, socket, http, refreshCDN). They come with the next release; their config
//! is read and checked already (`common::config::PluginBlock`), and the supervisor says so
//! when one is switched on.
