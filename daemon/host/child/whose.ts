import { createHook, executionAsyncResource } from 'node:async_hooks'

/** One of several modules that live in this process. */
export interface Owner {
  readonly instance: string
  /** What the process is called while code of this owner runs: whoever looks from outside sees who has the loop. */
  readonly title: string
  /** Everything of it that still waits for its time. */
  readonly timers: Set<WeakRef<NodeJS.Timeout>>
  /** So many timers may be remembered before those that are gone are swept out. */
  sweepAt: number
}

type Tagged = { [OWNER]?: Owner }
const OWNER = Symbol('owner')

/**
 * Knows whose code runs, in a process that several modules share.
 *
 * Whatever a module begins (a promise, a timer, a socket) bears its mark, and so does what that begins in turn; when
 * it goes on, its owner's name becomes the title of the process. That costs some 60 ns for each `await`, and half a
 * microsecond when the loop passes from one module to another. In exchange a hang, an exit and an error that nobody
 * caught have a name, from inside and from outside, also where no stack shows it.
 */
export class Whose {
  #shown = ''

  constructor() {
    const init = (_: number, type: string, __: number, resource: object): void => {
      const owner = this.now()
      if (owner === undefined) return
      ;(resource as Tagged)[OWNER] = owner
      if (type === 'Timeout') remember(owner, resource as NodeJS.Timeout)
    }
    createHook({ init, before: () => this.#show(this.now()?.title ?? IDLE_TITLE) }).enable()
  }

  /** Whose code runs now; undefined for that of the host itself. */
  now(): Owner | undefined {
    return (executionAsyncResource() as Tagged)[OWNER]
  }

  /** Whose promise this is. */
  of(promise: object): Owner | undefined {
    return (promise as Tagged)[OWNER]
  }

  /** Runs code of a module: it and all that it begins is the owner's. */
  as<Result>(owner: Owner, run: () => Result): Result {
    const resource = executionAsyncResource() as Tagged
    const former = resource[OWNER]
    resource[OWNER] = owner
    this.#show(owner.title)
    try {
      return run()
    } finally {
      if (former === undefined) delete resource[OWNER]
      else resource[OWNER] = former
    }
  }

  #show(title: string): void {
    if (this.#shown === title) return
    this.#shown = title
    process.title = title
  }
}

export function createOwner(instance: string, seat: number): Owner {
  // The kernel keeps fifteen characters: the number comes first.
  return { instance, title: `nexus ${seat} ${instance}`, timers: new Set(), sweepAt: SWEEP_MIN }
}

/** Stops every timer that an owner has left behind. */
export function clearTimers({ timers }: Owner): void {
  for (const timer of timers) clearTimeout(timer.deref())
  timers.clear()
}

function remember(owner: Owner, timer: NodeJS.Timeout): void {
  const { timers } = owner
  timers.add(new WeakRef(timer))
  if (timers.size < owner.sweepAt) return
  for (const one of timers) if (one.deref() === undefined) timers.delete(one)
  owner.sweepAt = Math.max(SWEEP_MIN, timers.size * 2)
}

const IDLE_TITLE = 'nexus shared host'
const SWEEP_MIN = 64
