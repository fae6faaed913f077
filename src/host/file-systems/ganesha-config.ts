/**
 * What one NFS server is told: version 4 over TCP alone, one export, on one address.
 *
 * - Root in a guest is root in the file system: it is the guests' own, and nothing else is on it.
 * - Only from ports below 1024, which a guest's (or the host's) ordinary users can't open; who may open a connection
 *   at all is for nftables to say.
 * - Owners are numbers: guests and host know different names.
 * - No grace period: a server that was restarted takes up its clients at once. They open anew what they had open;
 *   locks that were held are lost, as after any network failure that outlasts the lease.
 */

export interface ExportPlace {
  /** Where the file system is, in the root that the server sees. */
  readonly path: string
  /** For what the server keeps of its clients. */
  readonly stateDir: string
  readonly address: string
  readonly port: number
}

/** What clients mount: `address:/share`. */
export const EXPORT_NAME = '/share'
/** A client that is silent for longer loses what it holds. */
const LEASE_SECONDS = 60
/** Files that are remembered; each takes a few KiB. */
const CACHED_FILES = 20_000

export function ganeshaConfig({ path, stateDir, address, port }: ExportPlace): string {
  return `
NFS_CORE_PARAM {
  Protocols = 4;
  Bind_addr = ${address};
  NFS_Port = ${port};
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Enable_UDP = false;
}
NFS_KRB5 { Active_krb5 = false; }
NFSV4 {
  Graceless = true;
  Lease_Lifetime = ${LEASE_SECONDS};
  RecoveryBackend = fs;
  RecoveryRoot = ${quoted(stateDir)};
  Only_Numeric_Owners = true;
  Allow_Numeric_Owners = true;
  Delegations = false;
  Minor_Versions = 1, 2;
}
MDCACHE { Entries_HWMark = ${CACHED_FILES}; }
EXPORT {
  Export_Id = 1;
  Path = ${quoted(path)};
  Pseudo = ${EXPORT_NAME};
  Access_Type = RW;
  Squash = No_Root_Squash;
  SecType = sys;
  Protocols = 4;
  Transports = TCP;
  PrivilegedPort = true;
  FSAL { Name = VFS; }
}
`
}

function quoted(text: string): string {
  if (/["\n\\]/.test(text)) throw new RangeError(`${text} can't be written into a server's settings.`)
  return `"${text}"`
}
