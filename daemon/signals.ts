/**
 * Hands SIGTERM and SIGINT to whoever stops the daemon, each time one comes. SIGHUP is ignored: a terminal that closes
 * does not end a daemon. SIGUSR1 is taken from Node, which would open a debugger on it. Returns the undoing.
 */
export function stopOnSignals(stop: (signal: string) => void): () => void {
  const ignore = (): void => {}
  const listeners: [NodeJS.Signals, (signal: NodeJS.Signals) => void][] = [
    ['SIGTERM', stop],
    ['SIGINT', stop],
    ['SIGHUP', ignore],
    ['SIGUSR1', ignore],
  ]
  for (const [signal, listener] of listeners) process.on(signal, listener)
  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener)
  }
}
