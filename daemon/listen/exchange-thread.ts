import { parentPort, workerData } from 'node:worker_threads'
import { NexusError } from '../contracts/failure.ts'
import { systemClock } from '../kit/clock.ts'
import { createExchange } from './exchange.ts'
import type { Asked, Replied } from './remote-exchange.ts'

/** The thread that forwards: a flood on a port does not slow the daemon, a busy daemon does not slow a port. */
const exchange = createExchange(systemClock, workerData.roomMax)

parentPort?.on('message', ({ id, method, args }: Asked) => {
  const call = exchange[method] as (...args: readonly unknown[]) => Promise<void>
  void call(...args).then(
    () => reply({ id }),
    (error: unknown) => {
      // Anything else is a bug, and ends the thread.
      if (!(error instanceof NexusError)) throw error
      reply({ id, failure: { code: error.code, facts: error.facts } })
    },
  )
})

function reply(message: Replied): void {
  parentPort?.postMessage(message)
}
