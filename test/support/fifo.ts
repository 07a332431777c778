import { execFileSync } from 'node:child_process'

/** Makes a FIFO: Node itself has no call for it. */
export function makeFifo(path: string): void {
  execFileSync('/usr/bin/env', ['mkfifo', path])
}
