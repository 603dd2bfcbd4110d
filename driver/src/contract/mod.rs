//! One suite of tests for every runtime: what the driver relies on, and what an application may rely on.
//!
//! [`contract!`](crate::contract!) makes a test of each case, for a function that makes the [`Ends`]. Nothing here
//! sleeps: cases wait for what is to happen. Where a case must let time pass, the runtime's timer does.

pub mod cancelled_connections;
pub mod cancelled_nodes;
pub mod cancelled_streams;
pub mod channels;
pub mod connecting;
mod descriptors;
mod ends;
pub mod panics;
mod polled;
pub mod pressure;
pub mod reconnecting;
pub mod requests;
pub mod runtime;
pub mod shutting_down;
mod spawned;
pub mod streams;
mod world;

pub use descriptors::descriptors_run_out;
pub use ends::Ends;

/// Makes a test of each case of the [contract], in modules beside the caller. The argument is called in each of these
/// modules and makes the [`Ends`](crate::contract::Ends), as in `contract!(crate::ends())`.
///
/// [contract]: mod@crate::contract
#[macro_export]
#[doc(hidden)]
macro_rules! contract {
    ($ends:expr) => {
        $crate::contract! { @cases $ends,
            runtime {
                timers_fire_from_their_deadline_on
                a_timer_wakes_who_polled_it_last
                the_clock_goes_on_and_seeds_differ
                a_panic_ends_one_task_alone
                names_resolve
                sockets_carry_bytes_both_ways_and_end_by_halves
                a_socket_that_nobody_reads_takes_no_more_until_somebody_does
                nobody_listens_or_somebody_does_already
                dropped_waits_for_sockets_lose_nothing
            }
            connecting {
                both_ends_know_each_other
                a_name_leads_to_a_peer
                a_connect_that_cannot_be_fails
                a_peer_that_says_nothing_is_given_up
                both_applications_make_a_handshake
                two_hundred_connections_at_once
            }
            streams {
                every_byte_arrives_both_ways_on_many_streams
                chunks_and_messages_arrive
                each_half_ends_by_itself
                a_reset_reaches_the_other_end
                a_protocol_that_nobody_serves_is_refused
            }
            pressure {
                a_writer_stops_at_the_windows_and_goes_on_when_the_reader_does
                a_slow_reader_holds_up_nobody_else
            }
            channels {
                messages_arrive_whole_and_in_order_both_ways
                a_message_is_as_long_as_may_be_or_refused
                a_sender_waits_until_the_receiver_reads
                cancelled_sends
                cancelled_receives
                messages_wait_for_a_lost_peer
                close_wakes_everybody
                a_shutdown_ends_channels
            }
            requests {
                every_request_has_its_answer
                a_request_has_its_deadline
                cancelled_requests
                close_wakes_who_asks_and_who_answers
                a_broadcast_has_a_result_for_each
            }
            reconnecting {
                a_listener_that_comes_back_is_reached_again
                a_node_dials_a_lost_peer_again
            }
            shutting_down {
                a_shutdown_ends_everything
                what_was_written_leaves_first
                a_deadline_cuts_off_what_does_not_end
                a_node_ends_with_all_its_tasks
            }
            cancelled_connections {
                connect
                listen_and_accept
                close_and_closed
                ping_and_identify
                perf
                handshakes
                shutdown
            }
            cancelled_streams {
                open_and_accept
                reads_and_writes
                messages
                flush_and_close
            }
            cancelled_nodes {
                listen_connect_and_open
                streams_and_events
                next_handshake
                shutdown
            }
            panics {
                a_key_log_that_panics_costs_its_connection_alone
                a_storage_that_panics_costs_a_store_alone
                a_task_of_the_application_that_panics_costs_its_streams_alone
            }
        }
    };
    (@cases $ends:expr, $($module:ident { $($case:ident)* })*) => {
        $(mod $module {
            $(
                #[test]
                fn $case() {
                    $ends.run($crate::contract::$module::$case);
                }
            )*
        })*
    };
}
