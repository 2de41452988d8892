/**
 * Every option C tor 0.4.9 knows, with the type of its value and with what tunic makes of it.
 *
 * Names and types are C tor's (src/app/config/config.c, src/feature/dirauth/dirauth_options.inc and their kin). An
 * option is supported, known but not supported yet (a warning names it), or obsolete in C tor too.
 */

export type ValueType =
  /** 0 or 1. */
  | "boolean"
  /** 0, 1 or auto. */
  | "auto-boolean"
  /** A whole number, not negative. */
  | "count"
  | "integer"
  | "number"
  | "interval"
  | "millisecond-interval"
  /** Intervals between commas. */
  | "interval-list"
  | "size"
  /** Words between commas. */
  | "list"
  | "path"
  | "text"
  /** May be given several times. */
  | "lines"
  | "port"
  /** Relays, countries or addresses between commas; several lines add up. */
  | "nodes"
  /** Lines whose order among each other counts: onion services. */
  | "group";

export interface OptionInfo {
  /** As C tor spells it. */
  readonly name: string;
  readonly type: ValueType;
  readonly support: "supported" | "unsupported" | "obsolete";
}

const BY_TYPE: Readonly<Record<ValueType, string>> = {
  "port": `
    ControlPort DirPort DNSPort ExtORPort HTTPTunnelPort MetricsPort NATDPort ORPort SocksPort TransPort`,
  "lines": `
    __HashedControlSessionPassword Address AlternateBridgeAuthority AlternateDirAuthority AuthDirBadExit
    AuthDirInvalid AuthDirMiddleOnly AuthDirReject Bridge ClientTransportPlugin ConsensusParams ControlSocket
    DirAuthority DirPolicy ExitPolicy FallbackDir FamilyId HashedControlPassword Log MapAddress MetricsPortPolicy
    MyFamily NodeFamily OutboundBindAddress OutboundBindAddressExit OutboundBindAddressOR OutboundBindAddressPT
    ReachableAddresses ReachableDirAddresses ReachableORAddresses RecommendedClientVersions
    RecommendedServerVersions RecommendedVersions ServerTransportListenAddr ServerTransportOptions
    ServerTransportPlugin SocksPolicy`,
  "group": `
    HiddenServiceAllowUnknownPorts HiddenServiceDir HiddenServiceDirGroupReadable
    HiddenServiceEnableIntroDoSBurstPerSec HiddenServiceEnableIntroDoSDefense HiddenServiceEnableIntroDoSRatePerSec
    HiddenServiceExportCircuitID HiddenServiceMaxStreams HiddenServiceMaxStreamsCloseCircuit
    HiddenServiceNumIntroductionPoints HiddenServiceOnionBalanceInstance HiddenServiceOptions HiddenServicePort
    HiddenServicePoWDefensesEnabled HiddenServicePoWQueueBurst HiddenServicePoWQueueRate HiddenServiceVersion`,
  "nodes": `
    AuthDirVoteGuard EntryNodes ExcludeExitNodes ExcludeNodes ExitNodes HSLayer2Nodes HSLayer3Nodes MiddleNodes
    TestingDirAuthVoteExit TestingDirAuthVoteGuard TestingDirAuthVoteHSDir`,
  "boolean": `
    __AllDirActionsPrivate __AlwaysCongestionControl __DisablePredictedCircuits __DisableSignalHandlers
    __LeaveStreamsUnattached __ReloadTorrcOnSIGHUP __SbwsExit AddressDisableIPv6 AllowNonRFC953Hostnames
    AssumeReachable AuthDirHasIPv6Connectivity AuthDirListBadExits AuthDirListMiddleOnly AuthDirPinKeys
    AuthDirRejectRequestsUnderLoad AuthDirSharedRandomness AuthDirTestEd25519LinkKeys AuthDirTestReachability
    AuthoritativeDirectory AutomapHostsOnResolve AvoidDiskWrites BridgeAuthoritativeDir BridgeRecordUsageByCountry
    BridgeRelay CellStatistics CircuitPadding ClientDNSRejectInternalAddresses ClientOnly
    ClientRejectInternalAddresses ClientUseIPv4 ClientUseIPv6 ConnDirectionStatistics ConstrainedSockets
    ControlPortFileGroupReadable ControlSocketsGroupWritable CookieAuthentication CookieAuthFileGroupReadable
    CountPrivateBandwidth DataDirectoryGroupReadable DirAllowPrivateAddresses DirCache DirReqStatistics
    DisableAllSwap DisableDebuggerAttachment DisableNetwork DisableOOSCheck DormantCanceledByStartup
    DormantOnFirstStartup DormantTimeoutDisabledByIdleStreams DormantTimeoutEnabled DownloadExtraInfo
    EnforceDistinctSubnets EntryStatistics ExitPolicyRejectLocalInterfaces ExitPolicyRejectPrivate
    ExitPortStatistics ExtendAllowPrivateAddresses ExtORPortCookieAuthFileGroupReadable ExtraInfoStatistics
    FascistFirewall FetchDirInfoEarly FetchDirInfoExtraEarly FetchHidServDescriptors FetchServerDescriptors
    FetchUselessDescriptors HardwareAccel HiddenServiceNonAnonymousMode HiddenServiceSingleHopMode
    HiddenServiceStatistics IPv6Exit LearnCircuitBuildTimeout LogMessageDomains MainloopStats NoExec
    OfflineMasterKey OverloadStatistics PaddingStatistics ProtocolWarnings PublishHidServDescriptors
    ReconfigDropsBridgeDescs ReducedCircuitPadding ReducedConnectionPadding ReducedExitPolicy ReevaluateExitPolicy
    RunAsDaemon SafeSocks Sandbox ServerDNSAllowBrokenConfig ServerDNSAllowNonRFC953Hostnames
    ServerDNSDetectHijacking ServerDNSRandomizeCase ServerDNSSearchDomains StrictNodes
    TestingDirAuthVoteExitIsStrict TestingDirAuthVoteGuardIsStrict TestingDirAuthVoteHSDirIsStrict
    TestingEnableCellStatsEvent TestingEnableConnBwEvent TestingTorNetwork TestSocks TruncateLogFile
    UnixSocksGroupWritable UpdateBridgesFromAuthority UseBridges UseDefaultFallbackDirs UseEntryGuards
    V3AuthoritativeDirectory V3AuthUseLegacyKey VersioningAuthoritativeDirectory`,
  "auto-boolean": `
    AssumeReachableIPv6 CacheDirectoryGroupReadable ClientPreferIPv6DirPort ClientPreferIPv6ORPort
    CompiledProofOfWorkHash ConfluxEnabled ConnectionPadding DoSCircuitCreationEnabled DoSConnectionEnabled
    DoSRefuseSingleHopClientRendezvous DoSStreamCreationEnabled ExitRelay ExtendByEd25519ID GeoIPExcludeUnknown
    KeepBindCapabilities KeyDirectoryGroupReadable PathBiasDropGuards RefuseUnknownExits UseGuardFraction
    UseMicrodescriptors VanguardsLiteEnabled`,
  "count": `
    AuthDirMaxServersPerAddr ClientBootstrapConsensusMaxInProgressTries ConnLimit DoSCircuitCreationBurst
    DoSCircuitCreationMinConnections DoSCircuitCreationRate DoSConnectionConnectBurst DoSConnectionConnectRate
    DoSConnectionMaxConcurrentCount DoSStreamCreationBurst DoSStreamCreationRate MaxClientCircuitsPending NumCPUs
    NumDirectoryGuards NumEntryGuards NumPrimaryGuards V3AuthNIntervalsValid`,
  "integer": `
    DoSCircuitCreationDefenseType DoSConnectionDefenseType DoSStreamCreationDefenseType
    MinMeasuredBWsForAuthToIgnoreAdvertised PathBiasCircThreshold PathBiasScaleThreshold PathBiasScaleUseThreshold
    PathBiasUseThreshold`,
  "number": `
    AuthDirVoteGuardBwThresholdFraction AuthDirVoteGuardGuaranteeWFU CircuitPriorityHalflife
    DirAuthorityFallbackRate KISTSockBufSizeFactor PathBiasExtremeRate PathBiasExtremeUseRate PathBiasNoticeRate
    PathBiasNoticeUseRate PathBiasWarnRate PathsNeededToBuildCircuits`,
  "interval": `
    AuthDirVoteGuardGuaranteeTimeKnown AuthDirVoteStableGuaranteeMinUptime AuthDirVoteStableGuaranteeMTBF
    CircuitBuildTimeout CircuitsAvailableTimeout CircuitStreamTimeout DormantClientTimeout
    DoSCircuitCreationDefenseTimePeriod DoSConnectionConnectDefenseTimePeriod GuardLifetime HeartbeatPeriod
    KeepalivePeriod MaxCircuitDirtiness MaxConsensusAgeForDiffs MinUptimeHidServDirectoryV2 NewCircuitPeriod
    RephistTrackTime ShutdownWaitLength SigningKeyLifetime SocksTimeout SSLKeyLifetime
    TestingAuthDirTimeToLearnReachability TestingAuthKeyLifetime TestingAuthKeySlop
    TestingClientMaxIntervalWithoutRequest TestingDirConnectionMaxStall TestingLinkCertLifetime TestingLinkKeySlop
    TestingMinTimeToReportBandwidth TestingSigningKeySlop TestingV3AuthInitialDistDelay
    TestingV3AuthInitialVoteDelay TestingV3AuthInitialVotingInterval TestingV3AuthVotingStartOffset
    TrackHostExitsExpire V3AuthDistDelay V3AuthVoteDelay V3AuthVotingInterval`,
  "millisecond-interval": `
    KISTSchedRunInterval LogTimeGranularity MaxOnionQueueDelay TokenBucketRefillInterval`,
  "interval-list": `
    ClientBootstrapConsensusAuthorityDownloadInitialDelay ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay
    ClientBootstrapConsensusFallbackDownloadInitialDelay TestingBridgeBootstrapDownloadInitialDelay
    TestingBridgeDownloadInitialDelay TestingClientConsensusDownloadInitialDelay TestingClientDownloadInitialDelay
    TestingServerConsensusDownloadInitialDelay TestingServerDownloadInitialDelay`,
  "size": `
    AccountingMax AuthDirFastGuarantee AuthDirGuardBWGuarantee BandwidthBurst BandwidthRate ConstrainedSockSize
    MaxAdvertisedBandwidth MaxHSDirCacheBytes MaxMemInQueues MaxUnparseableDescSizeToLog PerConnBWBurst
    PerConnBWRate RelayBandwidthBurst RelayBandwidthRate TestingMinExitFlagThreshold TestingMinFastFlagThreshold`,
  "list": `
    AuthDirBadExitCCs AuthDirInvalidCCs AuthDirMiddleOnlyCCs AuthDirRejectCCs AutomapHostsSuffixes FirewallPorts
    LongLivedPorts PublishServerDescriptor RejectPlaintextPorts Schedulers ServerDNSTestAddresses TrackHostExits
    WarnPlaintextPorts`,
  "path": `
    AccelDir CacheDirectory ClientOnionAuthDir ControlPortWriteToFile CookieAuthFile DataDirectory DirPortFrontPage
    ExtORPortCookieAuthFile FamilyKeyDirectory GeoIPFile GeoIPv6File GuardfractionFile KeyDirectory PidFile
    ServerDNSResolvConfFile V3BandwidthsFile`,
  "text": `
    __OwningControllerFD __OwningControllerProcess AccelName AccountingRule AccountingStart BridgeDistribution
    BridgePassword ConfluxClientUX ContactInfo HTTPProxy HTTPProxyAuthenticator HTTPSProxy HTTPSProxyAuthenticator
    MinimalAcceptedServerVersion Nickname SafeLogging Socks4Proxy Socks5Proxy Socks5ProxyPassword
    Socks5ProxyUsername SyslogIdentityTag TCPProxy TransProxyType User VirtualAddrNetworkIPv4 VirtualAddrNetworkIPv6`,
};

const SUPPORTED = new Set(words(`
    AlternateDirAuthority CircuitBuildTimeout CircuitsAvailableTimeout CircuitStreamTimeout
    ClientDNSRejectInternalAddresses ClientOnly ClientRejectInternalAddresses
    DataDirectory DirAuthority EnforceDistinctSubnets FallbackDir Log LongLivedPorts MaxCircuitDirtiness
    MaxClientCircuitsPending PathsNeededToBuildCircuits SafeLogging SocksPolicy SocksPort SocksTimeout
    TestingTorNetwork TruncateLogFile UseDefaultFallbackDirs`));

const OBSOLETE = words(`
    __UseFilteringSSLBufferevents AllowDotExit AllowInvalidNodes AllowSingleHopCircuits AllowSingleHopExits
    AlternateHSAuthority AndroidIdentityTag AuthDirBadDir AuthDirBadDirCCs AuthDirListBadDirs
    AuthDirMaxServersPerAuthAddr AuthDirRejectUnlisted CircuitIdleTimeout ClientAutoIPv6ORPort
    ClientBootstrapConsensusAuthorityOnlyMaxDownloadTries ClientBootstrapConsensusMaxDownloadTries
    CloseHSClientCircuitsImmediatelyOnTimeout CloseHSServiceRendCircuitsImmediatelyOnTimeout ControlListenAddress
    DirListenAddress DisableIOCP DisableV2DirectoryInfo_ DNSListenAddress DynamicDHGroups ExcludeSingleHopRelays
    FallbackNetworkstatusFile FastFirstHopPK FetchV2Networkstatus Group HiddenServiceAuthorizeClient HidServAuth
    HidServDirectoryV2 MaxOnionsPending NamingAuthoritativeDirectory NATDListenAddress OptimisticData
    ORListenAddress PathBiasDisableRate PathBiasMultFactor PathBiasScaleFactor PathBiasUseCloseCounts PortForwarding
    PortForwardingHelper PredictedPortsRelevanceTime PreferTunneledDirConns RecommendedPackages RunTesting
    SchedulerHighWaterMark__ SchedulerLowWaterMark__ SchedulerMaxFlushCells__ SocksListenAddress StrictEntryNodes
    StrictExitNodes Support022HiddenServices TestingCertMaxDownloadTries TestingConsensusMaxDownloadTries
    TestingDescriptorMaxDownloadTries TestingEnableTbEmptyEvent TestingEstimatedDescriptorPropagationTime
    TestingMicrodescMaxDownloadTries TLSECGroup Tor2webMode Tor2webRendezvousPoints TransListenAddress
    TunnelDirConns UseEntryGuardsAsDirGuards UseFilteringSSLBufferevents UseNTorHandshake UserspaceIOCPBuffers
    V1AuthoritativeDirectory V2AuthoritativeDirectory VoteOnHidServDirectoriesV2 WarnUnsafeSocks`);

/** Other spellings, each for the name it stands for. */
const OTHER_SPELLINGS: Readonly<Record<string, string>> = {
  AllowUnverifiedNodes: "AllowInvalidNodes",
  AutomapHostOnResolve: "AutomapHostsOnResolve",
  AutomapHostSuffixes: "AutomapHostsSuffixes",
  BandwidthBurstBytes: "BandwidthBurst",
  BandwidthRateBytes: "BandwidthRate",
  BridgeAuthoritativeDirectory: "BridgeAuthoritativeDir",
  DirBindAddress: "DirListenAddress",
  DirServer: "DirAuthority",
  MaxConn: "ConnLimit",
  MaxMemInCellQueues: "MaxMemInQueues",
  NumEntryNodes: "NumEntryGuards",
  NumHelperNodes: "NumEntryGuards",
  ORBindAddress: "ORListenAddress",
  PreferTunnelledDirConns: "PreferTunneledDirConns",
  ResolvConf: "ServerDNSResolvConfFile",
  SearchDomains: "ServerDNSSearchDomains",
  ServerDNSAllowBrokenResolvConf: "ServerDNSAllowBrokenConfig",
  SocksBindAddress: "SocksListenAddress",
  SocksSocketsGroupWritable: "UnixSocksGroupWritable",
  UseEntryNodes: "UseEntryGuards",
  UseHelperNodes: "UseEntryGuards",
  VirtualAddrNetwork: "VirtualAddrNetworkIPv4",
  _HSLayer2Nodes: "HSLayer2Nodes",
  _HSLayer3Nodes: "HSLayer3Nodes",
};

/** Names that may be written without their last letter. */
const PLURALS = words(`
    AuthDirBadDirCCs AuthDirBadExitCCs AuthDirInvalidCCs AuthDirMiddleOnlyCCs AuthDirRejectCCs EntryNodes ExcludeNodes
    FirewallPorts LongLivedPorts NumCPUs RecommendedPackages StrictEntryNodes StrictExitNodes StrictNodes`);

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

const OPTIONS: ReadonlyMap<string, OptionInfo> = (() => {
  const options = new Map<string, OptionInfo>();
  const alias = (spelling: string, name: string) =>
    options.set(spelling.toLowerCase(), options.get(name.toLowerCase())!);
  for (const [type, names] of Object.entries(BY_TYPE) as [ValueType, string][]) {
    for (const name of words(names)) {
      options.set(name.toLowerCase(), { name, type, support: SUPPORTED.has(name) ? "supported" : "unsupported" });
      // A controlling program's own ports, which C tor leaves out when it saves its configuration.
      if (type === "port") alias(`__${name}`, name);
      if (type === "interval-list") alias(name.replace("InitialDelay", "Schedule"), name);
    }
  }
  for (const name of OBSOLETE) options.set(name.toLowerCase(), { name, type: "text", support: "obsolete" });
  for (const [spelling, name] of Object.entries(OTHER_SPELLINGS)) alias(spelling, name);
  for (const name of PLURALS) alias(name.slice(0, -1), name);
  return options;
})();

/** The option of a name in any case, or of another spelling of it. */
export function findOption(name: string): OptionInfo | undefined {
  return OPTIONS.get(name.toLowerCase());
}

/** Every option once. */
export function allOptions(): OptionInfo[] {
  return [...new Set(OPTIONS.values())];
}

/** Whether several lines of an option add up, rather than the last one counting. */
export function isCumulative({ type }: OptionInfo): boolean {
  return type === "lines" || type === "port" || type === "nodes" || type === "group";
}

/** The known name nearest to an unknown one, if any is near enough to have been meant. */
export function nearestOption(name: string): string | undefined {
  const wanted = name.toLowerCase().slice(0, 64);
  let best: OptionInfo | undefined;
  let least = Math.max(2, Math.floor(wanted.length * 0.4)) + 1;
  for (const [known, option] of OPTIONS) {
    if (Math.abs(known.length - wanted.length) >= least) continue;
    const distance = editDistance(wanted, known);
    if (
      distance < least || (distance === least && best && best.support !== "supported" && option.support === "supported")
    ) {
      [best, least] = [option, distance];
    }
  }
  if (best) return best.name;
  const longer = [...OPTIONS].filter(([known]) => wanted.length >= 4 && known.startsWith(wanted)).map(([, info]) =>
    info
  );
  return (longer.find(({ support }) => support === "supported") ?? longer[0])?.name;
}

/** Levenshtein's distance: how many letters to insert, remove or change. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
