import { Worker } from 'node:worker_threads'
import { type FailureCode, type FailureFacts, NexusError } from '../contracts/failure.ts'
import type { Exchange } from './exchange.ts'

export interface Asked {
  readonly id: number
  readonly method: keyof Exchange
  readonly args: readonly unknown[]
}

export interface Replied {
  readonly id: number
  readonly failure?: { readonly code: FailureCode; readonly facts: FailureFacts }
}

export interface RemoteExchange extends Exchange {
  /** Ends the thread, and with it every connection. */
  close(): Promise<void>
}

/**
 * Starts an exchange in a thread of its own.
 *
 * @param onBug - Told when the thread ends by itself; all ports are closed then.
 */
export function startExchange(roomMax: number, onBug: (error: unknown) => void): RemoteExchange {
  const worker = new Worker(new URL(THREAD, import.meta.url), {
    workerData: { roomMax },
    resourceLimits: { maxYoungGenerationSizeMb: NURSERY_MB },
  })
  const pending = new Map<number, { resolve(): void; reject(error: unknown): void }>()
  let asked = 0
  let isClosing = false

  worker.unref()
  worker.on('message', ({ id, failure }: Replied) => {
    const { resolve, reject } = pending.get(id) ?? NOBODY
    pending.delete(id)
    if (pending.size === 0) worker.unref()
    if (failure === undefined) resolve()
    else reject(new NexusError(failure.code, failure.facts))
  })
  worker.on('error', onBug)
  worker.on('exit', (code) => {
    if (!isClosing) onBug(new Error(`the thread of the ports ended with ${code}`))
    for (const { resolve } of pending.values()) resolve()
  })

  const ask = (method: keyof Exchange, args: readonly unknown[]): Promise<void> =>
    new Promise((resolve, reject) => {
      const id = asked++
      // Only while somebody waits for an answer does it keep the process alive.
      if (pending.size === 0) worker.ref()
      pending.set(id, { resolve, reject })
      worker.postMessage({ id, method, args } satisfies Asked)
    })
  return {
    open: (order) => ask('open', [order]),
    direct: (key, targets) => ask('direct', [key, targets]),
    drain: (instance, waitMs) => ask('drain', [instance, waitMs]),
    forget: (instance) => ask('forget', [instance]),
    shut: (key) => ask('shut', [key]),
    async close() {
      isClosing = true
      await worker.terminate()
    },
  }
}

const NOBODY = { resolve: () => {}, reject: () => {} }
/** Without it a flood of new connections costs 140 MB before V8 looks; 8 MB cost no speed that was measured. */
const NURSERY_MB = 8
/** TypeScript in a checkout, JavaScript in `dist`. */
const THREAD = import.meta.url.endsWith('.ts') ? './exchange-thread.ts' : './exchange-thread.js'
