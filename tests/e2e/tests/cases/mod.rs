//! Command lines for the comparison, without the program's name.

/// Every command in scope, by each of its names.
#[rustfmt::skip]
pub(crate) const COMMANDS: &[&str] = &[
    "version", "info", "system info", "pull", "image pull", "load", "image load", "import",
    "image import", "images", "image ls", "image list", "image inspect", "history", "image history",
    "tag", "image tag", "rmi", "image rm", "image remove", "save", "image save", "image prune",
    "create", "container create", "run", "container run", "start", "container start", "stop",
    "container stop", "kill", "container kill", "restart", "container restart", "pause",
    "container pause", "unpause", "container unpause", "wait", "container wait", "rm",
    "container rm", "container remove", "ps", "container ls", "container ps", "container list",
    "inspect", "container inspect", "logs", "container logs", "exec", "container exec", "attach",
    "container attach", "top", "container top", "stats", "container stats", "events",
    "system events", "port", "container port", "rename", "container rename", "cp", "container cp",
    "diff", "container diff", "export", "container export", "update", "container update",
    "commit", "container commit", "container prune", "system df", "system prune", "volume ls",
    "volume list", "network ls", "network list", "login", "logout", "container", "volume", "volume create",
    "volume inspect", "volume rm", "volume remove", "volume prune", "network inspect", "search",
    "manifest annotate", "manifest create", "manifest inspect", "manifest push", "manifest rm",
];

/// Commands that want at least one argument: called without any.
#[rustfmt::skip]
pub(crate) const WITH_ARGUMENTS: &[&str] = &[
    "pull", "image pull", "import", "image import", "image inspect", "history", "image history",
    "tag", "tag a", "image tag", "rmi", "image rm", "save", "create", "container create", "run",
    "container run", "start", "stop", "container stop", "kill", "restart", "pause", "unpause",
    "wait", "rm", "container rm", "inspect", "container inspect", "logs", "container logs", "exec",
    "exec a", "container exec", "attach", "top", "container top", "port", "rename", "rename a",
    "cp", "cp a", "diff", "export", "update", "commit", "volume inspect",
    "volume rm", "network inspect",
];

/// Commands that want so many arguments and no more: called with four.
#[rustfmt::skip]
pub(crate) const LIMITED: &[&str] = &[
    "version", "info", "system info", "pull", "load", "images", "image ls", "history", "tag",
    "image tag", "ps", "container ls", "logs", "attach", "events", "system events", "port",
    "rename", "cp", "diff", "export", "commit", "container prune", "image prune", "system df",
    "system prune", "volume ls", "network ls", "login", "logout", "container", "image", "volume",
    "network", "system", "volume create", "volume prune",
];

/// Other lines that are refused before the engine is asked.
#[rustfmt::skip]
pub(crate) const WRONG: &[&str] = &[
    "bogus", "bogus x", "container bogus", "container bogus --help", "image bogus", "volume bogus",
    "network bogus", "system bogus", "--bogus", "-Z", "--log-level bogus ps", "help bogus",
    "--context nowhere ps", "-H bogus://x ps", "-H tcp://a -H tcp://b ps", "container --bogus",
    "run --name", "run -m abc bb", "run -m 1x bb", "run --memory=-1k bb", "run --cpus=x bb",
    "run --rm=maybe bb", "run -p abc bb", "run -p 80:abc bb", "run -p 1-3:1-2 bb",
    "run -p 99999:1 bb", "run -p 1:99999 bb", "run -p x:1:2 bb", "run -p 1:2/abc bb",
    "run --expose x bb", "run --mount bogus bb", "run --mount type=bogus bb",
    "run --mount type=bind,src=/a bb", "run --mount type=bind,bogus=1,dst=/a bb",
    "run --mount type=volume,dst=/a,readonly=x bb", "run --mount type=tmpfs,tmpfs-size=x,dst=/a bb",
    "run -v : bb", "run -v a:b:c:d bb", "run --ulimit bogus bb", "run --ulimit nofile bb",
    "run --ulimit nofile=x bb", "run --ulimit nofile=2:1 bb", "run --restart bogus bb",
    "run --restart on-failure:x bb", "run --restart always:3 bb", "run --rm --restart always bb",
    "run -d -a stdout bb", "run -a bogus bb", "run --device bogus bb", "run --device /a:/b:x bb",
    "run --env-file /nonexistent bb", "run --label-file /nonexistent bb", "run --link : bb",
    "run --add-host x bb", "run --add-host x:bogus bb", "run --dns bogus bb", "run --ip bogus bb",
    "run --mac-address bogus bb", "run --log-opt x bb", "run --storage-opt x bb",
    "run --sysctl x bb", "run --tmpfs '' bb", "run --shm-size x bb", "run --shm-size -1 bb",
    "run --blkio-weight 70000 bb", "run --blkio-weight-device x bb",
    "run --device-read-bps x bb", "run --device-read-iops x bb", "run --device-read-bps /x:y bb",
    "run --pid bogus bb", "run --uts bogus bb", "run --userns bogus bb", "run --ipc bogus bb",
    "run --cgroupns bogus bb", "run --security-opt bogus bb", "run --security-opt seccomp=/none bb",
    "run --gpus x=y bb", "run --pull bogus bb", "run --platform bogus bb", "run --net a --net b bb",
    "run --network-alias x bb", "run --network name=x,bogus=1 bb", "run --health-interval x bb",
    "run --health-interval 1 bb", "run --health-retries -1 --health-cmd x bb",
    "run --no-healthcheck --health-cmd x bb", "run --memory-swap x bb",
    "run --memory-swappiness x bb", "run --oom-score-adj x bb", "run --stop-timeout x bb",
    "run --stop-timeout -5 bb", "run --detach-keys ctrl-xx bb", "run --annotation x bb",
    "run --cidfile '' --bogus", "run --isolation", "run -e", "run -e '' bb", "run -l '' bb",
    "run -ti bb", "run -t bb", "create --attach bogus bb",
    "ps --filter bogus", "ps --filter ''", "ps -n x", "ps --last=x", "images --filter bogus",
    "images a b", "events --filter bogus", "logs --tail", "kill -s", "stop -t x a", "stop --time x a",
    "restart -t x a", "rm -x a", "inspect --type bogus a", "inspect --type '' a",
    "inspect --type node a", "inspect --format '{{' a", "inspect --format '{{.A' a",
    "inspect --format '{{bogus .}}' a", "ps --format '{{'", "images --format '{{.A'",
    "version --format '{{'", "version --format '{{.Bogus}}'", "info --format '{{'",
    "info --format '{{.Bogus}}'", "events --format '{{'", "cp a b", "cp a:b c:d", "cp - -", "cp '' a:b",
    "cp a:b ''", "cp /nonexistent a:/x", "import /nonexistent", "load -i /nonexistent",
    "exec a", "exec -d --detach-keys x", "update a", "update --restart bogus a",
    "update --memory x a", "login --password-stdin", "login -p x -u y --password-stdin",
    "login --password x", "login --username ''", "system df -v --format '{{.X}}'",
    "system prune --volumes --filter until=1h", "system prune --filter bogus", "rmi", "tag a ''",
    "export a", "save", "save -o /nonexistent/x a", "export -o /nonexistent/x a", "stats --bogus",
    "volume ls --filter bogus", "volume prune -a --filter all=1", "volume create --label ''", "network ls --filter bogus",
];

/// What the lines of [`READS`] find.
#[rustfmt::skip]
pub(crate) const STAGE: &[&str] = &[
    "tag bb bb:two",
    "run -d --name web -p 127.0.0.1:8080:80 -p 9090:90/udp -l a=1 -l b=two -e X=y -v vol:/v -m 64m --restart always bb sleep 1000",
    "run --name done bb sh -c 'echo out; echo err >&2; exit 3'",
    "create --name made --entrypoint cat -w /tmp -u user bb /etc/passwd",
    "run -d --name held --network none bb sleep 1000", "pause held",
    "run --name files bb sh -c 'echo x >/new; rm /data/seed; mkdir /dir'",
    "run -d --name chatty --log-opt labels=a -l a=1 bb sh -c 'for i in 1 2 3 4 5; do echo line $i; done; echo e >&2; sleep 1000'",
];

/// Lines that change nothing.
#[rustfmt::skip]
pub(crate) const READS: &[&str] = &[
    // ps
    "ps", "ps -a", "ps -aq", "ps -q", "ps -l", "ps -n 2", "ps -n 0", "ps -n -1", "ps -a --no-trunc",
    "ps -aq --no-trunc", "ps -as", "ps -s --format '{{.Size}}' -a", "container ls -a", "ps -a --format json",
    "ps --format table", "ps -a --format 'table {{.ID}}\t{{.Names}}\t{{.Ports}}'",
    "ps -a --format '{{json .}}'", "ps -a --format '{{.Names}}: {{.Labels}} {{.Label \"a\"}}'",
    "ps -a --format '{{.Image}} {{.Command}} {{.State}} {{.Status}} {{.RunningFor}} {{.CreatedAt}}'",
    "ps -a --format '{{.Mounts}} {{.Networks}} {{.LocalVolumes}}'", "ps -a --format raw",
    "ps -aq --format raw", "ps -aq --format '{{.Names}}'", "ps -a --format '{{.Bogus}}'",
    "ps -a --format '{{upper .Names}} {{lower .Image}} {{title .State}}'",
    "ps -a --format '{{join (split .Names \",\") \";\"}} {{truncate .ID 5}} {{pad .Names 2 3}}'",
    "ps -a --format '{{range $i, $e := split .Names \"e\"}}{{$i}}={{$e}} {{end}}'",
    "ps -a --format '{{if eq .Names \"web\"}}yes{{else}}no{{end}} {{len .Names}} {{printf \"%q %-8s|\" .Names .State}}'",
    "ps -a --format '{{println .Names}}'", "ps -a --format 'a\\tb\\n{{.Names}}'", "ps --format ''",
    "ps -a --no-trunc --format '{{.Command}} {{.Mounts}}'", "ps -a --format '{{.Platform}} {{.HealthStatus}}'",
    "ps -a -f name=we", "ps -a -f status=exited", "ps -a -f status=bogus", "ps -a -f exited=3", "ps -a -f label=a=1",
    "ps -a -f ancestor=bb", "ps -a -f before=web", "ps -a -f since=web", "ps -a -f bogus=1", "ps -a -f id=zz",
    "ps -a -f volume=vol", "ps -a -f network=none", "ps -a -f publish=8080", "ps -a -f expose=80", "ps -f before=nonexistent",
    "ps -a -f health=bogus", "ps -a -f is-task=x", "ps -a -f exited=x",
    // images
    "images", "image ls", "images -a", "images -q", "images --no-trunc", "images --digests", "images bb",
    "images bb:two", "images 'b*'", "images nothing", "images -q --no-trunc", "images --format json",
    "images --format '{{json .}}'", "images --format '{{.Repository}}:{{.Tag}} {{.Size}} {{.ID}} {{.CreatedAt}}'",
    "images --format 'table {{.Repository}}\t{{.Tag}}'", "images --format table", "images --format raw", "images -q --format raw",
    "images --digests --format table", "images --digests --format json",
    "images --format '{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}} {{.Digest}} {{.CreatedSince}}'",
    "images -f dangling=true", "images -f label=x", "images -f reference=bb", "images -f since=bb", "images -f before=bb",
    "images -f bogus=1", "images -f dangling=x", "images --format '{{.Bogus}}'", 
    // history
    "history bb", "history bb --no-trunc", "history -q bb", "history -H=false bb", "history --format json bb",
    "history --format '{{.ID}} {{.CreatedBy}} {{.Size}} {{.Comment}} {{.CreatedSince}} {{.CreatedAt}}' bb",
    "history nothing", "history --format '{{.Bogus}}' bb", "history -q --no-trunc bb", "history --format 'table {{.Size}}' bb",
    // inspect
    "inspect web", "inspect bb", "inspect done made", "inspect web nothing", "inspect nothing", "inspect nothing web",
    "inspect -s web", "inspect --type image web", "inspect --type container bb", "inspect --type image bb",
    "inspect --type network bridge", "inspect --type volume vol", "inspect vol", "inspect bridge",
    "container inspect web", "container inspect nothing", "image inspect bb", "image inspect nothing bb", "image inspect web",
    "inspect -f '{{.State.Status}}' web done", "inspect -f json web", "inspect -f '{{json .State}}' web",
    "inspect -f '{{json .Config.Labels}} {{.Config.Env}} {{.Config.Cmd}}' web", "inspect -f '{{.Bogus}}' web",
    "inspect -f '{{.State.Bogus}}' web", "inspect -f '{{.Config.Healthcheck}} {{.State.Health}}' web",
    "inspect -f '{{range $p, $c := .NetworkSettings.Ports}}{{$p}} -> {{(index $c 0).HostPort}}\n{{end}}' web",
    "inspect -f '{{index .Config.Labels \"a\"}} {{index .Config.Labels \"none\"}}' web", "inspect -f '{{index .Config.Cmd 9}}' web",
    "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy}}' web",
    "inspect -f '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Networks.bridge.Gateway}}' web",
    "inspect -f '{{.Mounts}}' web", "inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' web",
    "inspect -f '{{.}}' nothing", "inspect -f '{{.Id}}' web nothing", "inspect -f '{{len .Config.Env}}' web",
    "inspect -f '{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}' web", "inspect -f '{{.Size}} {{.RepoTags}} {{.Os}}/{{.Architecture}}' bb",
    "inspect -f '{{.SizeRw}} {{.SizeRootFs}}' web", "inspect -s -f '{{.SizeRootFs}}' web", "inspect -f '{{println .Name}}' web",
    "inspect -f '{{.HostConfig.PortBindings}}' web", "inspect -f '{{json .HostConfig}}' web", "inspect -f '{{.State.Pid}} {{.State.ExitCode}} {{.State.Running}}' web done",
    "inspect -f '{{with .State}}{{.Status}}{{end}} {{not .State.Running}} {{and .State.Running .Path}} {{or .Driver .Path}}' web",
    "inspect -f '{{.NetworkSettings.Ports}}' web", "inspect -f '{{split .Name \"e\"}}' web", "inspect -f '{{.Config.Labels.a}}' web",
    "image inspect -f '{{.Id}}' bb bb:two", "image inspect -f '{{json .RootFS}}' bb", "image inspect --platform linux/amd64 bb",
    // logs
    "logs done", "logs nothing", "logs -t done", "logs --tail 2 chatty", "logs -n 1 chatty", "logs --tail all chatty",
    "logs --tail x chatty", "logs --details chatty", "logs --since 1h chatty", "logs --until 1h chatty", "logs --since x chatty",
    "logs -f done", "logs made", "container logs done", "logs --since 2020-01-01 --until 2020-01-02T00:00:00Z done",
    // port, top, diff, stats
    "port web", "port web 80", "port web 80/tcp", "port web 90/udp", "port web 90", "port web x", "port web 80/x", "port nothing", "port done",
    "top done", "top nothing", "top web -o pid", "top web -o comm,args", "top web -o bogus", "top made", "top web aux -o comm",
    "diff files", "diff made", "diff nothing", "diff web",
    "stats --no-stream done made", "stats --no-stream nothing", "stats --no-stream --format '{{.Name}} {{.ID}} {{.PIDs}}' web",
    "stats --no-stream --format json done", "stats --no-stream -a --format 'table {{.Name}}\t{{.PIDs}}'", "stats --no-stream --format '{{.Bogus}}' web",
    "stats --no-stream --no-trunc done", "stats --no-stream --format '{{.Container}}' web done",
    // system
    "version --format '{{.Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}'", "version --format '{{json .Server}}'",
    "version -f '{{range .Server.Components}}{{.Name}} {{.Version}} {{.Details}}{{end}}'",
    "info -f '{{.Containers}} {{.Images}} {{.Driver}} {{.ID}} {{.Swarm.LocalNodeState}}'", "info -f '{{json .SecurityOptions}}'", 
    "info -f '{{.Plugins}}'", "info -f '{{.ServerErrors}}'",
    "system df", "system df --format json", "system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'",
    "system df --format 'table {{.Type}}\t{{.Size}}'", "system df -v", "system df -v --format json",
    "events --since 1h --until 0s --filter type=nothing", "events --since x", "events --until 0s --since 10m", "events --until 0s --since 10m --format json",
    "events --until 0s --since 10m --format '{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}'", "events --until 0s --since 10m --format '{{.Bogus}}'",
    "events --until 0s --since 10m -f event=die", "events --until 0s --since 10m -f container=web -f type=container",
    "network ls", "network ls -q", "network ls --no-trunc", "network ls --format json", "network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}'",
    "network ls -f name=bri", "network ls -f bogus=1", "volume ls", "volume ls -q", "volume ls --format json", "volume ls --format '{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Scope}} {{.Labels}}'",
    "volume ls -f name=vol", "volume ls -f dangling=true", "volume ls -f bogus=1", "volume ls --format 'table {{.Name}}'",
    // errors of the engine
    "start nothing", "stop nothing", "kill nothing", "kill done", "kill -s BOGUS web", "restart nothing", "pause nothing", "pause done", "unpause web", "unpause nothing",
    "rm nothing", "rm -f nothing", "rm web", "rmi nothing", "rmi bb:two nothing:x -f --bogus", "exec nothing ls", "exec done ls", "exec held ls", "exec web nonexistent", "exec web sh -c 'exit 7'",
    "exec web echo hi there", "exec web sh -c 'echo out; echo err >&2'", "exec -e A=b -w /tmp -u user web sh -c 'echo $A; pwd; id -un'", "exec -w /nonexistent web ls", "exec -u bogus web ls", "exec -it web ls", "exec -t web tty",
    "exec --privileged web true", "exec --env-file /nonexistent web true", "attach nothing", "attach done", "attach held", "rename nothing x", "rename web done", "rename web ''", "rename web '!'", "rename web web",
    "cp nothing:/x -", "cp web:/nonexistent -", "cp web:/etc/passwd /nonexistent/x", "export nothing", "update --memory 1g nothing", "update --memory 1k web", "update --cpus 999 web",
    "wait nothing", "wait done", "tag nothing x", "tag bb 'X Y'", "tag bb UPPER", "history nothing:x", "import - UPPER", "commit nothing", "run --name web bb", "create --name '!' bb", "run --network nothing bb",
    "run --rm -v relative/path:/x:bogus bb", "run -m 1m bb", "run --cpus 999 bb", "run --user", "logout nowhere.example", "save nothing", "pull UPPER", "pull 'a b'", "pull localhost:1/x", "pull -q localhost:1/x", "pull -a localhost:1/x:tag",
    "create localhost:1/x", "run localhost:1/x", "run --pull never nothing", "create --pull never nothing", "create -q localhost:1/x", "load", "container prune --filter bogus=1 -f", "image prune --filter bogus=1 -f", "container prune", "image prune", "system prune", "system prune -a --volumes",
];

/// Lines that change the engine, scene by scene.
#[rustfmt::skip]
pub(crate) const SCENES: &[&[&str]] = &[
    &["create --name aa bb echo hi", "create bb --bogus", "start aa", "wait aa", "start -a aa", "logs aa", "rm aa", "rm aa"],
    &["run --rm bb echo hi", "run --rm bb sh -c 'echo e >&2; exit 5'", "run --rm bb nonexistent", "run --rm bb /etc", "run --rm --entrypoint /nonexistent bb", "run --rm -w relative bb true",
      "run --rm -u nobody-here bb true", "run --rm -t bb tty", "run --rm --read-only bb touch /x", "run --rm -a stdout bb sh -c 'echo o; echo e >&2'", "run --rm -a stderr bb sh -c 'echo o; echo e >&2'", "run --rm -i bb cat"],
    &["run -d --name aa bb sleep 1000", "pause aa", "pause aa", "start aa", "stop -t 0 aa", "unpause aa", "unpause aa", "kill aa", "kill aa", "stop aa", "start aa", "restart -t 0 aa", "kill -s TERM aa", "rename aa bbb", "rm bbb", "rm -f bbb nothing", "rm -f bbb"],
    &["run -d --name aa bb sleep 1000", "run -d --name bbb bb sleep 1000", "stop -t 0 aa bbb nothing", "start aa bbb nothing", "kill aa bbb nothing", "wait aa bbb nothing", "rm aa bbb nothing"],
    &["run -d --name aa --stop-signal KILL bb sleep 1000", "stop aa", "ps -a --format '{{.Names}} {{.State}}'", "container prune -f --filter until=1h", "container prune -f"],
    &["run --cidfile cid bb true", "run --cidfile cid bb true"],
    &["run --name aa bb touch /file", "diff aa", "cp aa:/file copied", "cp aa:/nonexistent copied", "cp aa:/data/. saved", "cp aa:/file nonexistent/dir/", "cp copied aa:/nonexistent/", "cp copied aa:/tmp/new", "cp aa:/data/seed -", "export -o out.tar aa", "import out.tar one:two", "images one --format '{{.Repository}}:{{.Tag}}'", "image inspect -f '{{.Config.Cmd}}' one:two", "rmi one:two", "import -c 'CMD [\"x\"]' -c 'ENV a=b' -m why out.tar one", "image inspect -f '{{.Config.Cmd}} {{.Config.Env}} {{.Comment}}' one", "import -c 'RUN x' out.tar", "rmi one"],
    &["tag bb one:a", "tag bb one:b", "rmi one:a", "create --name aa one:b", "rmi one:b", "rmi -f one:b", "rmi one:b"],
    &["run -d --name aa bb sleep 1000", "rmi bb", "update --memory 64m --memory-swap 128m aa", "update --restart always aa", "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' aa", "update --pids-limit 50 aa nothing", "exec -d aa touch /x", "exec aa ls /x", "exec -i aa cat", "top aa -o comm", "port aa"],
    &["run -d -p 127.0.0.1:8081:80 --name aa bb sleep 1000", "port aa", "run -d -p 127.0.0.1:8081:80 --name bbb bb sleep 1000", "rm bbb", "start nothing"],
    &["run -d -P --expose 80 --name aa bb sleep 1000", "run --rm --network none bb ip -o link show eth0", "run --rm --hostname h bb hostname", "run --rm --dns 1.2.3.4 --dns-search x.y bb cat /etc/resolv.conf", "run --rm --add-host a:1.2.3.4 bb grep 1.2.3.4 /etc/hosts"],
    &["run --rm --tmpfs /t:size=1m bb df -h /t", "run --rm --mount type=tmpfs,dst=/t,tmpfs-size=1m bb true", "run --rm --mount type=bind,src=/nonexistent,dst=/x bb true", "run --rm -v /tmp:/x:ro bb touch /x/y", "run --rm --cap-drop ALL bb chown 1 /tmp", "run --rm --cap-add BOGUS bb true", "run --rm --privileged --security-opt no-new-privileges bb true", "run --rm --ulimit nofile=100:200 bb sh -c 'ulimit -n'", "run --rm --init bb true", "run --rm --pid host bb true", "run --rm --sysctl net.ipv4.ip_forward=0 bb true", "run --rm --sysctl bogus=1 bb true", "run --rm --device /nonexistent bb true", "run --rm --log-driver bogus bb true", "run --rm --runtime bogus bb true", "run --rm --gpus all bb true", "run --rm --isolation hyperv bb true", "run --rm --link x bb true", "run --rm --volumes-from x bb true", "run --rm --storage-opt size=1g bb true", "run --rm --userns host bb true", "run --rm --health-cmd true bb true", "run --rm --no-healthcheck bb true", "run --rm --ip 1.2.3.4 bb true", "run --rm --platform linux/arm64 bb true", "run --rm --platform windows/amd64 bb true"],
    &["commit nothing x", "create --name aa bb", "commit aa x", "login -u x -p y localhost:1", "logout localhost:1", "logout"],
    &["run --rm corten/hello", "images corten/hello"],
    &["volume create vol2", "volume create --label a=b -o x=y vol3", "volume create -d bogus vol4", "volume create -o x", "volume create '!'", "volume create vol2",
      "volume inspect vol2 nothing", "volume inspect -f '{{.Name}} {{.Labels}} {{.Options}} {{.Scope}} {{.UsageData}} {{.Status}}' vol2", "volume inspect nothing", "inspect --type volume vol2",
      "run --name user -v vol2:/v bb touch /v/x", "volume rm vol2", "volume ls --format '{{.Name}} {{.Links}} {{.Size}}'", "rm user", "volume prune", "volume prune -f", "volume prune -af --filter label=nothing", "volume prune -af", "volume rm vol2", "volume rm -f vol2", "volume ls"],
];
