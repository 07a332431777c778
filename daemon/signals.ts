/**
 * Takes SIGUSR1 from Node, which would open a debugger on it: whoever reaches that has the keys. For the first line of
 * the program and for good, since there is no moment in which it would be welcome.
 */
export function refuseDebugger(): void {
  process.on('SIGUSR1', () => {})
}

/**
 * Hands SIGTERM and SIGINT to whoever stops the daemon, each time one comes. SIGHUP is ignored: a terminal that closes
 * does not end a daemon. Returns the undoing.
 */
export function stopOnSignals(stop: (signal: string) => void): () => void {
  const ignore = (): void => {}
  const listeners: [NodeJS.Signals, (signal: NodeJS.Signals) => void][] = [
    ['SIGTERM', stop],
    ['SIGINT', stop],
    ['SIGHUP', ignore],
  ]
  for (const [signal, listener] of listeners) process.on(signal, listener)
  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener)
  }
}
