/** The embedding API: a whole daemon in your own process, and the client that speaks to one. */
export * from './aeon-interface/index.ts'
export {
  type Listening,
  SecurityContext,
  UniversalDaemon,
  type UniversalDaemonOptions,
} from './daemon/universal-daemon.ts'
