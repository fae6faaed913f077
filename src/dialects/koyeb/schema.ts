/**
 * The Koyeb wire: what is answered, exactly; what is asked for is read leniently where it is used (`query.ts`,
 * `frame.ts`, `accept.ts`), since its clients spell keys in two ways and send numbers as text.
 *
 * Names are the proto's (snake_case) and nothing is left out: its clients read unset text as "", unset numbers as
 * 0, unset lists as [], and unset times and messages as null. Enums are closed: Go and Python clients refuse an
 * answer with a value they don't know.
 */

/** RFC 3339, UTC, `Z`. */
export type Time = string

export const INSTANCE_STATUSES = ['ALLOCATING', 'STARTING', 'HEALTHY', 'UNHEALTHY', 'STOPPING', 'STOPPED', 'ERROR', 'SLEEPING'] as const
export type InstanceStatus = (typeof INSTANCE_STATUSES)[number]

export interface InstanceListItem {
  readonly id: string
  readonly created_at: Time
  readonly updated_at: Time
  readonly organization_id: string
  readonly app_id: string
  readonly service_id: string
  readonly regional_deployment_id: string
  /** Empty while ALLOCATING. */
  readonly allocation_id: string
  readonly type: string
  readonly replica_index: number
  readonly region: string
  readonly datacenter: string
  readonly status: InstanceStatus
  readonly messages: readonly string[]
  readonly xyz_deployment_id: string
}

export interface Instance extends InstanceListItem {
  readonly hypervisor: string
  readonly started_at: Time | null
  readonly succeeded_at: Time | null
  readonly terminated_at: Time | null
}

export interface ListInstancesReply {
  readonly instances: readonly InstanceListItem[]
  readonly limit: number
  readonly offset: number
  readonly count: number
  readonly order: Order
}

export interface InstanceEvent {
  readonly id: string
  readonly when: Time
  readonly organization_id: string
  readonly instance_id: string
  readonly type: string
  readonly message: string
  readonly metadata: Readonly<Record<string, string>>
}

export interface ListInstanceEventsReply {
  readonly events: readonly InstanceEvent[]
  readonly limit: number
  readonly offset: number
  readonly order: Order
  readonly has_next: boolean
}

export type Order = 'asc' | 'desc'

export interface ErrorField {
  readonly field: string
  readonly description: string
}

export interface ErrorBody {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly fields?: readonly ErrorField[]
}

/** `google.rpc.Status` */
export interface RpcStatus {
  readonly code: number
  readonly message: string
  readonly details: readonly ({ readonly '@type': string } & Readonly<Record<string, string>>)[]
}

// --- exec -----------------------------------------------------------------------------------------------------

export const EXEC_ID_TYPES = ['INVALID', 'INSTANCE_ID', 'SERVICE_ID'] as const
export type ExecIdType = (typeof EXEC_ID_TYPES)[number]

export interface ExecIo {
  /** Base64 of the standard alphabet, padded. */
  readonly data: string
  readonly close: boolean
}

/** Every key is there in every frame: the CLI falls over, and its MCP server waits forever, where one is missing. */
export interface ExecReply {
  readonly stdout: ExecIo | null
  readonly stderr: ExecIo | null
  readonly exited: boolean
  readonly exit_code: number
}

/** A command that was run to its end by one request; Berth's own. */
export interface RunReply {
  readonly stdout: string
  readonly stderr: string
  /** Of both streams. */
  readonly encoding: 'utf-8' | 'base64'
  /** null if its time was over. */
  readonly exit_code: number | null
  readonly signal: string | null
  readonly timed_out: boolean
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean }
  readonly duration_ms: number
  readonly instance_id: string
}

/** Never both keys, not even as null. */
export type StreamResult<T> = { readonly result: T } | { readonly error: RpcStatus }
