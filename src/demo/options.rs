//! What can be said on the command line of `xrtc demo`.

use std::net::IpAddr;

use clap::Args;

/// Flags of `xrtc demo`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// TCP port of the page, the signalling and ICE over TCP
    #[arg(short, long, value_name = "PORT", default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// UDP port of the media; the same number as --port where it is not given
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub udp_port: Option<u16>,
    /// Address or name at which browsers reach this machine; can be repeated. Without it: the addresses of its interfaces
    #[arg(long = "host", alias = "candidate", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Address to listen on; without it: every address of this machine
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,
    /// A Janus to stand behind the edge instead of the built-in echo, by its REST or WebSocket URL; can be repeated
    #[arg(long, value_name = "URL", value_parser = server)]
    pub janus: Vec<String>,
    /// Print the demo's configuration as a routes.yml in front of a Janus, and end
    #[arg(long)]
    pub show_config: bool,
}

impl Options {
    /// The UDP port.
    pub fn udp_port(&self) -> u16 {
        self.udp_port.unwrap_or(self.port)
    }
}

/// What janus.js is given ends in `/janus`; an upstream is named by host and port.
fn server(url: &str) -> Result<String, String> {
    let server = url.trim_end_matches('/').trim_end_matches("/janus");
    match server.split_once("://") {
        Some(("http" | "https" | "ws" | "wss", host)) if !host.is_empty() && !host.contains('/') => {
            Ok(server.to_owned())
        }
        _ => Err("expected a URL such as http://127.0.0.1:8088 or ws://127.0.0.1:8188".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  xrtc demo                           open http://localhost:6443 and look
  xrtc demo --port 7443               where 6443 is taken
  xrtc demo --host 192.168.1.20       one address only, for a phone in the same network
  xrtc demo --host demo.example.org   behind NAT or in a container: publish TCP and UDP 6443
  xrtc demo --listen 127.0.0.1        nobody but this machine (Firefox takes no media from 127.0.0.1)
  xrtc demo --janus http://127.0.0.1:8088 --janus ws://127.0.0.1:8188
                                      the same page, with the EchoTest of your Janus behind it
  xrtc demo --show-config             the routes.yml behind it, to start your own from

The page is served over HTTP and HTTPS, on the same port. A browser gives a page its camera only over HTTPS or on localhost; the
certificate is made anew for each run, so the browser warns. Without a camera the page draws a picture of its own.
Add ?transport=tcp to the address to see ICE over TCP. Ctrl-C ends the demo.";
