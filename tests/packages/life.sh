# The life of an installation on the throwaway machine, from the first look to a killed sensor. Sourced.
# shellcheck shell=bash

step() {
    machine_put "$here/inside.sh" /tmp/inside.sh
    machine_put "$here/checks.sh" /tmp/checks.sh
    machine bash /tmp/inside.sh "$1"
}

# Through a pipe: the machine has other mounts than this one.
machine_put() { machine sh -c "cat >$2" <"$1"; }

the_life_of_an_installation() {
    check "users and folders are there" step users_and_folders_are_there
    check "nothing runs before enrolment, and the doctor says what to do" step nothing_runs_before_enrolment
    check "the agent watches without a server" step the_agent_watches_without_a_server
    check "the collector gets ready in its sandbox, embedded engine included" step the_collector_gets_ready
    check "the engine runs confined" step the_engine_runs_confined
    check "the host enrols and is heard" step the_host_enrols_and_is_heard
    check "every probe is on in the sandbox" step every_probe_is_on_in_the_sandbox
    check "the doctor finds nothing" step the_doctor_finds_nothing
    check "a process of this machine reaches the analyst" step a_process_of_this_machine_reaches_the_analyst
    check "files in /tmp and in a home are scanned" step a_file_in_tmp_and_in_a_home_is_scanned
    check "processes hold what their units allow" step processes_hold_what_their_units_allow
    check "a killed sensor comes back" step a_killed_sensor_comes_back
}
