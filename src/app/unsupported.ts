/** What tunic makes of the options it does not support: which values it fulfils anyway, and which it must not ignore. */

/** Values that describe what tunic does in any case, in lower case: no warning is due for them. */
export const SAME_AS_TUNIC: Readonly<Record<string, readonly string[] | undefined>> = {
  AuthoritativeDirectory: ["0"],
  AutomapHostsOnResolve: ["0"],
  BridgeRelay: ["0"],
  ClientUseIPv4: ["1"],
  ControlPort: ["0"],
  DirCache: ["0"],
  DirPort: ["0"],
  DisableNetwork: ["0"],
  DNSPort: ["0"],
  DownloadExtraInfo: ["0"],
  ExitRelay: ["0"],
  ExtORPort: ["0"],
  FascistFirewall: ["0"],
  FetchUselessDescriptors: ["0"],
  HTTPTunnelPort: ["0"],
  MetricsPort: ["0"],
  NATDPort: ["0"],
  ORPort: ["0"],
  RunAsDaemon: ["0"],
  SafeSocks: ["0"],
  Sandbox: ["0"],
  StrictNodes: ["0"],
  TestSocks: ["0"],
  TransPort: ["0"],
  UpdateBridgesFromAuthority: ["0"],
  UseBridges: ["0"],
  UseEntryGuards: ["1"],
  UseMicrodescriptors: ["1", "auto"],
};

/** Options that hide or forbid something, with what would happen if they were ignored. */
export const UNSAFE_TO_IGNORE: Readonly<Record<string, string | undefined>> = {
  ClientTransportPlugin: "relays would be contacted without the transport that hides this is Tor",
  DisableNetwork: "the network would be used",
  FascistFirewall: "ports would be used that the line forbids",
  HTTPSProxy: "relays would be contacted directly, past the proxy",
  OutboundBindAddress: "connections would leave from other addresses",
  OutboundBindAddressOR: "connections would leave from other addresses",
  SafeSocks: "requests would be served that give away names",
  Socks4Proxy: "relays would be contacted directly, past the proxy",
  Socks5Proxy: "relays would be contacted directly, past the proxy",
  TCPProxy: "relays would be contacted directly, past the proxy",
  UseBridges: "public relays would be contacted instead of the bridges",
};
