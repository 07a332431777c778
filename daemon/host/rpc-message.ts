export type RpcId = number | string

/** A message of JSON-RPC 2.0 as it is on the wire; with `method` it asks or tells, without it answers. */
export interface RpcMessage {
  readonly id?: RpcId | null
  readonly method?: string
  readonly params?: unknown
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown }
}

/** The message in a line, or `undefined` when the line is none. Batches are not part of the protocol. */
export function parseMessage(line: string): RpcMessage | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { jsonrpc, id, method, params, error } = value as Record<string, unknown>
  if (jsonrpc !== '2.0') return undefined
  if (id !== undefined && id !== null && typeof id !== 'string' && !Number.isSafeInteger(id)) return undefined
  if (method !== undefined) {
    const isProper =
      typeof method === 'string' && id !== null && (params === undefined || typeof params === 'object')
    return isProper ? value : undefined
  }
  // An answer to a line that could not be understood has the id null: nobody waits for it.
  if (id === undefined) return undefined
  if (error === undefined) return 'result' in value ? value : undefined
  if (typeof error !== 'object' || error === null) return undefined
  const { code, message } = error as Record<string, unknown>
  return Number.isSafeInteger(code) && typeof message === 'string' ? value : undefined
}
