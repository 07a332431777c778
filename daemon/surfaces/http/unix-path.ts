import { lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { NexusError } from '../../contracts/failure.ts'

/** `sun_path` has 108 bytes with its closing zero; beyond them `listen` only says EINVAL. */
const PATH_BYTES_MAX = 107

/**
 * Makes room for a Unix socket: takes a dead one away, and nothing else.
 *
 * Call it only while the lock on the data folder is held: then nobody else can be about to listen there.
 *
 * @throws NexusError `SOCKET_PATH_TOO_LONG`; `PORT_UNAVAILABLE` when somebody listens, or it is no socket.
 */
export async function clearSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path)
  if (bytes > PATH_BYTES_MAX) throw new NexusError('SOCKET_PATH_TOO_LONG', { bytes, path })
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw taken(path, 'something that is no socket is there; move it away')
  if (await answers(path)) throw taken(path, 'another process listens there')
  unlinkSync(path)
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function taken(path: string, reason: string): NexusError {
  return new NexusError('PORT_UNAVAILABLE', { host: path, port: '', reason })
}
