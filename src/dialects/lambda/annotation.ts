/** What the dialect keeps with an instance, because only its wire knows it. */
export const LAMBDA = {
  /** The name as it was given: up to 64 characters of any kind, and several may have the same. Empty is none. */
  name: 'lambda_name',
  /** Ids of the catalogue. */
  type: 'lambda_type',
  region: 'lambda_region',
  /** A JSON list of names. */
  sshKeys: 'lambda_ssh_keys',
  /** A JSON object: names of file systems by their ids. */
  fileSystems: 'lambda_file_systems',
  /** What tells the instances of this dialect apart: random, once a launch. */
  launch: 'lambda_launch',
} as const
