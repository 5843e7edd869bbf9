# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sersync_supervisor_global_optspecs
    string join \n r/full-sync d/daemon o/config= n/workers= m/module= state-dir= pid-file= h/help V/version
end

function __fish_sersync_supervisor_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sersync_supervisor_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sersync_supervisor_using_subcommand
    set -l cmd (__fish_sersync_supervisor_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s n -l workers -d 'Most transfers at work at once (default 10)' -r -f
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s m -l module -d 'Run only a plugin: refreshCDN, socket, http or command' -r -f -a "refreshCDN\t''
socket\t''
http\t''
command\t''"
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -l state-dir -d 'Where pending work and names are kept; otherwise as the config says' -r -f -a "(__fish_complete_directories)"
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -l pid-file -d 'Write the number of the process there, for init scripts; it goes at the end' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s r -l full-sync -d 'Sync everything once at start, while live changes already flow'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s d -l daemon -d 'Detach once all roles are up and every directory is watched'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -s V -l version -d 'Print version'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "demo" -d 'mirror a small tree to a private rsync daemon, to see it work'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "doctor" -d 'try, as each role of the config, what it must not be able to do, and look for what is missing; exit status 0 only if all is refused'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "check" -d 'say everything that is wrong with the config of -o, with its place and its cure, and start nothing; exit status 78 where a supervisor would not start or a remote cannot be used'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "plan" -d 'what a full sync would do now, deletions first, and nothing is done; exit status 0: nothing, 1: something, 69: a remote could not be compared'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "explain" -d 'whether the path is mirrored and watched, which rule decides, and where it waits; exit status 1 if not'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "verify" -d 'compare remotes with the source and print what differs; with --repair, send that again'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "wait" -d 'end when all that was seen up to now is confirmed'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "status" -d 'how all is: which remote lags, since when, why, and what to do; docs/status.md explains the JSON'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_needs_command" -f -a "deletes" -d 'deletions that the brake holds: show them, carry them out, or leave the files on the remotes'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand demo" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand demo" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand doctor" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand check" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand check" -l remotes -d 'try each remote, as its syncer would'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand check" -l dump -d 'write the config that is in force to standard output'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand check" -l strict -d 'a warning counts like an error'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand check" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand plan" -l remote -d 'only this remote, as the log names it' -r -f
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand plan" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand plan" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand explain" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand explain" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand verify" -l remote -d 'only this remote, as the log names it' -r -f
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand verify" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand verify" -l repair -d 'send what differs again'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand verify" -l checksum -d 'compare what files hold, not size and time'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand verify" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand wait" -l remote -d 'only this remote, as the log names it' -r -f
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand wait" -l timeout -d 'give up after so long' -r -f
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand wait" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand wait" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand status" -l socket -d 'the socket to read, without a look at the config' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand status" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand status" -l watch -d 'draw it again each second, until Ctrl-C'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand status" -l json -d 'a line of JSON'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand status" -s h -l help -d 'Print help'
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand deletes" -l tree -d 'only this watched directory' -r -f -a "(__fish_complete_directories)"
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand deletes" -s o -l config -d 'Config file' -r -F
complete -c sersync-supervisor -n "__fish_sersync_supervisor_using_subcommand deletes" -s h -l help -d 'Print help'
