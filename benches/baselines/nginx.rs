//! nginx with a file that is there already, and with an empty answer to events: what TLS and HTTP alone cost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{Daemon, find, free_port};
use crate::harness::Outcome;
use crate::harness::client::Peer;

/// One worker, as few system calls as it can do with.
const CONFIGURATION: &str = "\
worker_processes 1; daemon off; pid DIR/nginx.pid; error_log DIR/error.log crit; user root;
events { worker_connections 1024; }
http {
  access_log off; server_tokens off; tcp_nodelay on; etag on;
  default_type application/json;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  server {
    listen 127.0.0.1:PORT ssl;
    ssl_certificate TLS/server.pem; ssl_certificate_key TLS/server.pem;
    ssl_protocols TLSv1.3; ssl_buffer_size 16k;
    root DIR/root;
    location = /v1/hooks/call-status { return 204; }
  }
}
";

/// Serves `files`, and answers 204 to events, with the certificate in `tls`, which is rollcall's own.
pub fn start(dir: &Path, tls: &Path, files: &[(&str, &[u8])]) -> Outcome<(Daemon, Peer)> {
    let program = find("nginx", &["/usr/sbin"])?;
    fs::create_dir_all(dir.join("root"))?;
    for (name, bytes) in files {
        fs::write(dir.join("root").join(name), bytes)?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let port = free_port()?;
    let text = CONFIGURATION.replace("PORT", &port.to_string());
    let text = text.replace("DIR", &dir.display().to_string());
    let text = text.replace("TLS/", &format!("{}/", tls.display()));
    let configuration = dir.join("nginx.conf");
    fs::write(&configuration, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&configuration).arg("-p").arg(dir);
    let daemon = Daemon::start(&mut command, port)?;
    Ok((daemon, Peer::tls(port, &tls.join("ca.pem"), "")?))
}
