import type { Clock } from '../kit/clock.ts'
import { thrownOf } from './calls.ts'
import type { HostProcess } from './host-process.ts'
import { RpcFailure } from './rpc.ts'

/**
 * Ends a program: asks it when it speaks, then TERM to its whole group, then KILL when `stopMs` are over in all.
 * Resolves when it is gone.
 */
export async function endProgram(
  host: HostProcess,
  speaks: boolean,
  stopMs: number,
  clock: Clock,
): Promise<void> {
  const endMs = clock.elapsed() + stopMs
  if (speaks && (await isDone(host, stopMs))) {
    host.peer.end()
    if (await goneWithin(host, PATIENCE_MS, clock)) return
  }
  host.signal('SIGTERM')
  if (await goneWithin(host, Math.max(PATIENCE_MS, endMs - clock.elapsed()), clock)) return
  host.signal('SIGKILL')
  await host.ended
}

/** Whether it is done with stopping, be it that its `stop` failed. */
async function isDone(host: HostProcess, stopMs: number): Promise<boolean> {
  try {
    await host.peer.request('stop', {}, stopMs)
    return true
  } catch (error) {
    if (!(error instanceof RpcFailure)) return false
    const { stack } = thrownOf(error)
    host.log({ level: 'error', message: `stop failed: ${error.message}`, fields: { stack } })
    return true
  }
}

async function goneWithin(host: HostProcess, waitMs: number, clock: Clock): Promise<boolean> {
  return await new Promise((resolve) => {
    const timer = clock.after(waitMs, () => resolve(false))
    void host.ended.then(() => {
      timer.cancel()
      resolve(true)
    })
  })
}

/** For an exit after an orderly stop, and at least between TERM and KILL. */
const PATIENCE_MS = 500
