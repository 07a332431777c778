/** How long the body behind a head is, or that nobody can tell where the message ends. */
export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }

/** What the first line and the headers of a request say about where it ends; undefined: not to be followed. */
export interface RequestHead {
  readonly isHead: boolean
  readonly body: Body
}

export interface ResponseHead {
  /** 1xx: the answer is still to come. */
  readonly isInterim: boolean
  readonly body: Body
}

/**
 * Reads the head of an HTTP/1 request, its empty line included. Anything unusual is undefined: whoever follows this
 * connection then stops doing so, and its bytes are forwarded all the same.
 */
export function readRequestHead(head: string): RequestHead | undefined {
  const method = REQUEST_LINE.exec(head)?.[1]
  // After CONNECT it is a tunnel; after `close` the end of the connection is part of the answer.
  if (method === undefined || method === 'CONNECT' || CLOSES.test(head)) return undefined
  const isHead = method === 'HEAD'
  const body = bodyOf(head)
  return body === undefined ? undefined : { isHead, body: body === 'unsaid' ? NONE : body }
}

/** Reads the head of the answer; `isHead` says that `HEAD` was asked. Undefined: the connection belongs to it now. */
export function readResponseHead(head: string, isHead: boolean): ResponseHead | undefined {
  const line = STATUS_LINE.exec(head)
  if (line === null || CLOSES.test(head)) return undefined
  const status = Number(line[1])
  // From here on it is a WebSocket, or whatever else was agreed on.
  if (status === 101) return undefined
  const isInterim = status < 200
  if (isInterim || isHead || status === 204 || status === 304) return { isInterim, body: NONE }
  const body = bodyOf(head)
  // Without a length it ends where the connection does.
  return body === undefined || body === 'unsaid' ? undefined : { isInterim, body }
}

const REQUEST_LINE = /^([A-Z]{3,20}) [!-~]{1,8000} HTTP\/1\.1\r\n/
const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d)[ \r]/
const CLOSES = /\nconnection[ \t]*:[^\r\n]*\bclose\b/i
const LENGTHS = /\n(content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)/gi
const NONE: Body = { kind: 'none' }

/** Two lengths, or one that is not plain: two readers may understand them differently. */
function bodyOf(head: string): Body | 'unsaid' | undefined {
  LENGTHS.lastIndex = 0
  const only = LENGTHS.exec(head)
  if (only === null) return 'unsaid'
  if (LENGTHS.exec(head) !== null) return undefined
  const [, name = '', value = ''] = only
  if (name.length === 'transfer-encoding'.length) {
    return /^chunked[ \t]*$/i.test(value) ? { kind: 'chunked' } : undefined
  }
  return /^\d{1,15}[ \t]*$/.test(value) ? { kind: 'length', bytes: Number(value) } : undefined
}
